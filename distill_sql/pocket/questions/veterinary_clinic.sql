-- Who on our client list comes from York?
SELECT full_name FROM owner WHERE city = 'York';
-- How many dogs do we look after?
SELECT count(*) FROM pet WHERE species = 'dog';
-- What does the average appointment cost?
SELECT avg(cost) FROM visit;
-- Which kinds of animals come to the clinic? Name each one once.
SELECT DISTINCT species FROM pet;
-- Is there anyone whose email we do not have? Give me their names.
SELECT full_name FROM owner WHERE email IS NULL;
-- What is the single highest bill we ever wrote?
SELECT max(cost) FROM visit;
-- I want the names and weights of all rabbits.
SELECT name, weight FROM pet WHERE species = 'rabbit';
-- Which vet earns the most?
SELECT vet_name FROM vet ORDER BY salary DESC LIMIT 1;
-- How many clients live in each city?
SELECT city, count(*) FROM owner GROUP BY city;
-- For each reason people come in, what do they pay on average?
SELECT reason, avg(cost) FROM visit GROUP BY reason;
-- How many appointments did cats have?
SELECT count(*) FROM visit AS T1 JOIN pet AS T2 ON T1.pet_id = T2.pet_id WHERE T2.species = 'cat';
-- Name the pets whose owners are from Hull.
SELECT T1.name FROM pet AS T1 JOIN owner AS T2 ON T1.owner_id = T2.owner_id WHERE T2.city = 'Hull';
-- Which animals are either parrots or weigh under 3 kilos?
SELECT name FROM pet WHERE species = 'parrot' OR weight < 3;
-- List the vets from the longest-serving to the newest, with the day they were hired.
SELECT vet_name, hired_on FROM vet ORDER BY hired_on ASC;
-- Which specialties are covered by more than four vets?
SELECT specialty FROM vet GROUP BY specialty HAVING count(*) > 4;
-- How much money is still outstanding from unpaid visits?
SELECT sum(cost) FROM visit WHERE paid = 0;
-- Which clients do not have any pet registered with us?
SELECT full_name FROM owner WHERE owner_id NOT IN (SELECT owner_id FROM pet);
-- Which pets are heavier than the typical pet?
SELECT name FROM pet WHERE weight > (SELECT avg(weight) FROM pet);
-- What is the most frequent reason for coming in?
SELECT reason FROM visit GROUP BY reason ORDER BY count(*) DESC LIMIT 1;
-- Are there cities where both a dog owner and a parrot owner live? Which?
SELECT T1.city FROM owner AS T1 JOIN pet AS T2 ON T1.owner_id = T2.owner_id WHERE T2.species = 'dog' INTERSECT SELECT T1.city FROM owner AS T1 JOIN pet AS T2 ON T1.owner_id = T2.owner_id WHERE T2.species = 'parrot';
-- Which client brought in the largest number of pets?
SELECT T1.full_name FROM owner AS T1 JOIN pet AS T2 ON T1.owner_id = T2.owner_id GROUP BY T1.owner_id ORDER BY count(*) DESC LIMIT 1;
-- Which vets have seen a hamster? Mention each only once.
SELECT DISTINCT T1.vet_name FROM vet AS T1 JOIN visit AS T2 ON T1.vet_id = T2.vet_id JOIN pet AS T3 ON T2.pet_id = T3.pet_id WHERE T3.species = 'hamster';
-- How many injuries were treated at a price above the overall average?
SELECT count(*) FROM visit WHERE reason = 'injury' AND cost > (SELECT avg(cost) FROM visit);
