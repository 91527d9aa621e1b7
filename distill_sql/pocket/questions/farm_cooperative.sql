-- Which farmers live in Ashby?
SELECT name FROM member WHERE village = 'Ashby';
-- How many of the plots are farmed organically?
SELECT count(*) FROM field WHERE organic = 1;
-- How large is the average plot, in hectares?
SELECT avg(hectares) FROM field;
-- What do we grow? Name every crop once.
SELECT DISTINCT crop FROM harvest;
-- Which parcels have never had their soil tested?
SELECT field_name FROM field WHERE last_tested IS NULL;
-- What is the strongest engine we own, in horsepower?
SELECT max(horsepower) FROM machine;
-- Give the name and size of all plots on chalk.
SELECT field_name, hectares FROM field WHERE soil = 'chalk';
-- Which plot is the smallest?
SELECT field_name FROM field ORDER BY hectares ASC LIMIT 1;
-- How many associates do we have per village?
SELECT village, count(*) FROM member GROUP BY village;
-- What quantity has been brought in of each crop, in tonnes overall?
SELECT crop, sum(tonnes) FROM harvest GROUP BY crop;
-- How many plots belong to people from Millford?
SELECT count(*) FROM field AS T1 JOIN member AS T2 ON T1.member_id = T2.member_id WHERE T2.village = 'Millford';
-- On which days did bookings of a Claas machine start?
SELECT T1.start_day FROM booking AS T1 JOIN machine AS T2 ON T1.machine_id = T2.machine_id WHERE T2.brand = 'Claas';
-- Which pieces of equipment come from Fendt or have more than 400 horsepower?
SELECT label FROM machine WHERE brand = 'Fendt' OR horsepower > 400;
-- Show the members and their shares, biggest stake first.
SELECT name, shares FROM member ORDER BY shares DESC;
-- Which manufacturers made more than six of our machines?
SELECT brand FROM machine GROUP BY brand HAVING count(*) > 6;
-- How many hours were the machines booked for ploughing, all together?
SELECT sum(hours) FROM booking WHERE purpose = 'ploughing';
-- Which members do not farm any land?
SELECT name FROM member WHERE member_id NOT IN (SELECT member_id FROM field);
-- Which machines have less power than our average machine?
SELECT label FROM machine WHERE horsepower < (SELECT avg(horsepower) FROM machine);
-- Which crop turns up most often in the yield records?
SELECT crop FROM harvest GROUP BY crop ORDER BY count(*) DESC LIMIT 1;
-- Which crops reached grade A in some record and grade C in another?
SELECT crop FROM harvest WHERE grade = 'A' INTERSECT SELECT crop FROM harvest WHERE grade = 'C';
-- Who farms the largest number of plots?
SELECT T1.name FROM member AS T1 JOIN field AS T2 ON T1.member_id = T2.member_id GROUP BY T1.member_id ORDER BY count(*) DESC LIMIT 1;
-- Who has booked a Valtra at least once? Every name once.
SELECT DISTINCT T1.name FROM member AS T1 JOIN booking AS T2 ON T1.member_id = T2.member_id JOIN machine AS T3 ON T2.machine_id = T3.machine_id WHERE T3.brand = 'Valtra';
-- How many wheat harvests were above the average quantity of all harvests?
SELECT count(*) FROM harvest WHERE crop = 'wheat' AND tonnes > (SELECT avg(tonnes) FROM harvest);
