-- What chairlifts do you have?
SELECT lift_name FROM lift WHERE kind = 'chairlift';
-- How many black runs are there in the resort?
SELECT count(*) FROM slope WHERE colour = 'black';
-- How much does an hour with an instructor cost on average?
SELECT avg(hourly_rate) FROM instructor;
-- In which languages can I take lessons? List each once.
SELECT DISTINCT language FROM instructor;
-- For which slopes is the vertical drop not recorded?
SELECT slope_name FROM slope WHERE drop_m IS NULL;
-- What was the biggest group ever taught?
SELECT max(participants) FROM lesson;
-- Tell me the name and length of each green piste.
SELECT slope_name, length_m FROM slope WHERE colour = 'green';
-- Which run is the longest of all?
SELECT slope_name FROM slope ORDER BY length_m DESC LIMIT 1;
-- How many instructors hold each certification?
SELECT level, count(*) FROM instructor GROUP BY level;
-- How long is a typical lesson in each sport?
SELECT discipline, avg(minutes) FROM lesson GROUP BY discipline;
-- How many slopes can I reach with a gondola?
SELECT count(*) FROM slope AS T1 JOIN lift AS T2 ON T1.lift_id = T2.lift_id WHERE T2.kind = 'gondola';
-- Which slopes start from lifts that have heated seats?
SELECT T1.slope_name FROM slope AS T1 JOIN lift AS T2 ON T1.lift_id = T2.lift_id WHERE T2.heated_seats = 1;
-- Which pistes are red and open for night skiing?
SELECT slope_name FROM slope WHERE colour = 'red' AND night_skiing = 1;
-- Sort the ski teachers by price, cheapest first, and show name and price.
SELECT name, hourly_rate FROM instructor ORDER BY hourly_rate ASC;
-- Which mother tongues are shared by more than six instructors?
SELECT language FROM instructor GROUP BY language HAVING count(*) > 6;
-- How many people took part in snowboard lessons altogether?
SELECT sum(participants) FROM lesson WHERE discipline = 'snowboard';
-- Which instructors have not given a single lesson?
SELECT name FROM instructor WHERE instructor_id NOT IN (SELECT instructor_id FROM lesson);
-- Which lifts carry fewer people per hour than the average lift?
SELECT lift_name FROM lift WHERE capacity < (SELECT avg(capacity) FROM lift);
-- Which discipline is taught most?
SELECT discipline FROM lesson GROUP BY discipline ORDER BY count(*) DESC LIMIT 1;
-- Which languages are spoken by juniors as well as by masters?
SELECT language FROM instructor WHERE level = 'junior' INTERSECT SELECT language FROM instructor WHERE level = 'master';
-- Who is the busiest teacher, counted in lessons?
SELECT T1.name FROM instructor AS T1 JOIN lesson AS T2 ON T1.instructor_id = T2.instructor_id GROUP BY T1.instructor_id ORDER BY count(*) DESC LIMIT 1;
-- Which instructors have taught on a black slope? Give each name once.
SELECT DISTINCT T1.name FROM instructor AS T1 JOIN lesson AS T2 ON T1.instructor_id = T2.instructor_id JOIN slope AS T3 ON T2.slope_id = T3.slope_id WHERE T3.colour = 'black';
-- Among blue runs, how many are longer than the average run of the resort?
SELECT count(*) FROM slope WHERE colour = 'blue' AND length_m > (SELECT avg(length_m) FROM slope);
