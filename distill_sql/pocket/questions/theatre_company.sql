-- Which of the plays were written by Chekhov?
SELECT title FROM play WHERE author = 'Chekhov';
-- How many houses do we play in Oxford?
SELECT count(*) FROM venue WHERE town = 'Oxford';
-- What do we pay an actor per week, on average?
SELECT avg(weekly_wage) FROM actor;
-- Which playwrights are in the repertoire? Name each of them once.
SELECT DISTINCT author FROM play;
-- Which performers have nobody representing them?
SELECT stage_name FROM actor WHERE agent IS NULL;
-- How many tickets did the best-selling show sell?
SELECT max(tickets_sold) FROM performance;
-- Give me the name and age of all our tenors.
SELECT stage_name, age FROM actor WHERE voice = 'tenor';
-- Which venue can hold the biggest audience?
SELECT venue_name FROM venue ORDER BY seats DESC LIMIT 1;
-- How many plays are there of each kind of drama?
SELECT genre, count(*) FROM play GROUP BY genre;
-- How much text does a part have on average, by importance of the part?
SELECT size, avg(lines) FROM role GROUP BY size;
-- How many shows have been held in Bath?
SELECT count(*) FROM performance AS T1 JOIN venue AS T2 ON T1.venue_id = T2.venue_id WHERE T2.town = 'Bath';
-- On which evenings did we perform a musical?
SELECT T1.night FROM performance AS T1 JOIN play AS T2 ON T1.play_id = T2.play_id WHERE T2.genre = 'musical';
-- Which works are comedies that take more than two hours?
SELECT title FROM play WHERE genre = 'comedy' AND minutes > 120;
-- List our actors from youngest to oldest, with their ages.
SELECT stage_name, age FROM actor ORDER BY age ASC;
-- Which authors have more than five plays in our list?
SELECT author FROM play GROUP BY author HAVING count(*) > 5;
-- How many tickets did all matinees sell together?
SELECT sum(tickets_sold) FROM performance WHERE matinee = 1;
-- Which actors have not been cast in anything?
SELECT stage_name FROM actor WHERE actor_id NOT IN (SELECT actor_id FROM role);
-- Whose weekly pay is above the average of the company?
SELECT stage_name FROM actor WHERE weekly_wage > (SELECT avg(weekly_wage) FROM actor);
-- Which vocal range is the most common in the company?
SELECT voice FROM actor GROUP BY voice ORDER BY count(*) DESC LIMIT 1;
-- Which dramatists gave us both a comedy and a tragedy?
SELECT author FROM play WHERE genre = 'comedy' INTERSECT SELECT author FROM play WHERE genre = 'tragedy';
-- Which building hosted the most shows?
SELECT T1.venue_name FROM venue AS T1 JOIN performance AS T2 ON T1.venue_id = T2.venue_id GROUP BY T1.venue_id ORDER BY count(*) DESC LIMIT 1;
-- Who has ever appeared in a play by Shaw? Do not repeat names.
SELECT DISTINCT T1.stage_name FROM actor AS T1 JOIN role AS T2 ON T1.actor_id = T2.actor_id JOIN play AS T3 ON T2.play_id = T3.play_id WHERE T3.author = 'Shaw';
-- How many supporting parts have more text than the average part?
SELECT count(*) FROM role WHERE size = 'supporting' AND lines > (SELECT avg(lines) FROM role);
